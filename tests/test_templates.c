/* test_templates.c - which template a model's own is, by its marks. The texts are written for this test: each is a case
 * of what decides; the published ones are known by hash (test_chat.c). */
#include "data/chat/chat_parts.h"
#include "tests/testing.h"

#include <CUnit/CUnit.h>
#include <string.h>

#define LOOP                                                                                                           \
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
#define OPEN "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
#define LLAMA                                                                                                          \
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + "        \
    "m['content'] | trim + '<|eot_id|>' }}{% endfor %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"
#define TURNS                                                                                                          \
    "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + role + '\\n' + m['content'] | trim + "               \
    "'<end_of_turn>\\n' }}{% endfor %}{{ '<start_of_turn>model\\n' }}"
#define TELLER "{{ '<|user|>\\n' + m['content'] + eos_token }}{{ '<|assistant|>\\n' }}"

static const struct {
    const char *jinja, *name, *system; /* name NULL: refused */
    unsigned quirks;
} cases[] = {
    {LOOP OPEN, "chatml", NULL, 0},
    {"{{ bos_token }}" LOOP OPEN, "chatml", NULL, LTI_CHAT_BOS},
    {"{% if m != 'system' %}{{ '<|im_start|>system\\nIt\\'s \"me\".\\nMe.<|im_end|>\\n' }}{% endif %}" LOOP OPEN,
     "chatml", "It's \"me\".\nMe.", 0},
    {"{% if m == \"system\" %}{{ \"<|im_start|>system\nIt's me<|im_end|>\n\" }}{% endif %}" LOOP OPEN, "chatml",
     "It's me", 0},
    {"{{ '<|im_start|>system\\nA<|im_end|>\\n' }}" LOOP OPEN, NULL, NULL, 0}, /* always, or when there is none? */
    {"{% if m != 'system' %}{{ '<|im_start|>system\\nA<|im_end|>' }}{{ '<|im_start|>system\\nB<|im_end|>' }}" LOOP OPEN,
     NULL, NULL, 0},
    {LOOP OPEN "{{ '<tool_call>' }}", "chatml", NULL, 0},
    {LOOP OPEN "{{ '<|im_sep|>' }}", NULL, NULL, 0},
    {LOOP OPEN "{{ '<think>' }}", NULL, NULL, 0},
    {LOOP OPEN "{{ eos_token }}", NULL, NULL, 0},
    {LOOP "\r\n" OPEN "\r\n", "chatml", NULL, 0},
    {LOOP "\n\n" OPEN, NULL, NULL, 0}, /* it writes an empty line */
    {LOOP "\n\n{#- it's a dash that takes it -#} \n" OPEN, "chatml", NULL, 0},
    {LOOP " {{ '{%}}' }}" OPEN, NULL, NULL, 0},
    {LOOP OPEN "{{ 'no end", NULL, NULL, 0},
    {LOOP OPEN "{", NULL, NULL, 0}, /* a brace is text, also as the last letter */
    {LOOP, NULL, NULL, 0},          /* how a reply begins is not said */
    {LOOP OPEN "{% set last_query_index = 0 %}{{ '<think>' }}{{ '</think>' }}", "qwen3", NULL, LTI_CHAT_THINK},
    {LOOP "{% set last_query_index = 0 %}{{ '</think>' }}{{ '<|im_start|>assistant\\n<think>\\n' }}", "qwen3", NULL,
     LTI_CHAT_THINK | LTI_CHAT_OPEN_THINK},
    {LLAMA, "llama3", NULL, LTI_CHAT_BOS | LTI_CHAT_TRIM},
    {"{% set date_string = \"26 Jul 2024\" %}{{ 'Cutting Knowledge Date: December 2023\\n' }}" LLAMA, "llama3", NULL,
     LTI_CHAT_BOS | LTI_CHAT_TRIM | LTI_CHAT_DATE},
    {"{% set date_string = \"1 Jan 2030\" %}{{ 'Cutting Knowledge Date: December 2029\\n' }}" LLAMA, NULL, NULL, 0},
    {"{% set system_message = 'x' %}" LLAMA, NULL, NULL, 0},
    {"{{ first_user_prefix }}{{ raise('roles must alternate') }}" TURNS, "gemma", NULL,
     LTI_CHAT_BOS | LTI_CHAT_TRIM | LTI_CHAT_FOLD | LTI_CHAT_ALTERNATE},
    {"{{ raise('System role not supported') }}" TURNS, "gemma", NULL,
     LTI_CHAT_BOS | LTI_CHAT_TRIM | LTI_CHAT_NO_SYSTEM},
    {TURNS, NULL, NULL, 0},
    {TELLER, NULL, NULL, 0}, /* nothing behind eos */
    {TELLER "\n", NULL, NULL, 0},
    {"{% x %}\n  {{- '<|user|>\\n' + m['content'] + eos_token }}\n{% y %}{{ '<|assistant|>' }}\n{% z %}", "zephyr",
     NULL, LTI_CHAT_EOS},
    {"{{ '<|user|>\\n' + m['content'] | trim + eos_token + '\\n' }}{{ '<|assistant|>\\n' }}", "zephyr", NULL,
     LTI_CHAT_EOS | LTI_CHAT_TRIM},
    {TELLER "{{ '<|end|>' }}", NULL, NULL, 0},
    {"{{ '[INST] ' + m['content'] + ' [/INST]' }}", NULL, NULL, 0},
    {"", NULL, NULL, 0},
};

static void recognised(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        lti_chat_kind kind;
        lt_status status = lti_chat_recognise(ctx, cases[i].jinja, &kind);
        const char *name = status == LT_OK ? kind.form->name : "refused", *want = cases[i].name;
        TS_CHECK(status == (want ? LT_OK : LT_EUNSUPPORTED) && strcmp(name, want ? want : "refused") == 0,
                 "case %d: %s", i, name);
        if (status != LT_OK) continue;
        TS_CHECK(kind.quirks == cases[i].quirks && !kind.exact, "case %d: quirks %u", i, kind.quirks);
        const char *system = cases[i].system;
        TS_CHECK(!system == !kind.system && (!system || strcmp(system, kind.system) == 0), "case %d: '%s'", i,
                 kind.system ? kind.system : "none");
        lti_free(ctx, kind.owned);
    }
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

int lti_suite_templates(void)
{
    static const ts_test tests[] = {{"recognised", recognised}};
    return ts_suite("templates", LTI_COUNT(tests), tests);
}
