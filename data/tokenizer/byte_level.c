/* byte_level.c - the byte-level spelling of tokens, and the tokenizer whose tokens are the bytes.
 *
 * Byte-level vocabularies spell each byte as one printable character: 33-126, 161-172 and 174-255 as themselves, the
 * other 68 in order as U+0100 and up (GPT-2). The byte tokenizer is written as such a tokenizer.json without merges:
 * the library then reads it like any other, and so does every other program that reads those files. */
#include "data/tokenizer/tokenizer.h"

static bool printable(int byte)
{
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

uint32_t lti_point_of_byte(int byte)
{
    if (printable(byte)) return (uint32_t)byte;
    uint32_t point = 256;
    for (int b = 0; b < byte; b++) point += !printable(b);
    return point;
}

int lti_byte_of_point(uint32_t point)
{
    if (point < 256) return printable((int)point) ? (int)point : -1;
    if (point >= 256 + 68) return -1;
    int left = (int)point - 256, byte = 0;
    for (;; byte++)
        if (!printable(byte) && left-- == 0) return byte;
}

void lti_spell_byte(lti_text *out, unsigned char byte)
{
    uint32_t point = lti_point_of_byte(byte);
    const char two[] = {(char)(0xC0 | point >> 6), (char)(0x80 | (point & 63))}, one = (char)point;
    lti_text_add(out, point < 128 ? &one : two, point < 128 ? 1 : 2);
}

void lti_bytes_json(lti_text *json, lti_text *config)
{
    lti_text_format(json, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n"
                          "  \"added_tokens\": [\n");
    static const char *const names[] = {"<|startoftext|>", "<|endoftext|>"};
    for (int i = 0; i < 2; i++)
        lti_text_format(json,
                        "    {\"id\": %d, \"content\": \"%s\", \"single_word\": false, \"lstrip\": false, "
                        "\"rstrip\": false, \"normalized\": false, \"special\": true}%s\n",
                        256 + i, names[i], i ? "" : ",");
    lti_text_format(json, "  ],\n  \"normalizer\": null,\n  \"pre_tokenizer\": {\"type\": \"ByteLevel\", "
                          "\"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": false},\n");
    lti_text_format(json,
                    "  \"post_processor\": {\"type\": \"TemplateProcessing\",\n"
                    "    \"single\": [{\"SpecialToken\": {\"id\": \"%s\", \"type_id\": 0}}, "
                    "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}],\n",
                    names[0]);
    lti_text_format(json,
                    "    \"pair\": [{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, "
                    "{\"Sequence\": {\"id\": \"B\", \"type_id\": 1}}],\n"
                    "    \"special_tokens\": {\"%s\": {\"id\": \"%s\", \"ids\": [256], \"tokens\": [\"%s\"]}}},\n",
                    names[0], names[0], names[0]);
    lti_text_format(json, "  \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, "
                          "\"trim_offsets\": true, \"use_regex\": false},\n"
                          "  \"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, "
                          "\"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, \"fuse_unk\": false, "
                          "\"byte_fallback\": false, \"ignore_merges\": false,\n    \"vocab\": {");
    for (int b = 0; b < 256; b++) {
        bool escaped = b == '"' || b == '\\';
        lti_text_format(json, b ? ", \"%s" : "\"%s", escaped ? "\\" : "");
        lti_spell_byte(json, (unsigned char)b);
        lti_text_format(json, "\": %d", b);
    }
    lti_text_format(json, "},\n    \"merges\": []}\n}\n");
    lti_text_format(config,
                    "{\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\",\n  \"bos_token\": \"%s\",\n"
                    "  \"eos_token\": \"%s\",\n  \"clean_up_tokenization_spaces\": false\n}\n",
                    names[0], names[1]);
}
