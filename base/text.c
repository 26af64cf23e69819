/* text.c - see text.h. Doubles its buffer; a number that is not finite becomes JSON's null where the caller asks. */
#include "base/text.h"

#include <locale.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static locale_t plain; /* the C locale; 0 where it cannot be had, and then the thread's own stays in use */
static pthread_once_t plain_once = PTHREAD_ONCE_INIT;

static void make_plain(void)
{
    plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

static int print_plain(char *text, size_t size, const char *format, va_list args) LTI_PRINTF(3, 0);

static int print_plain(char *text, size_t size, const char *format, va_list args)
{
    pthread_once(&plain_once, make_plain);
    locale_t before = uselocale(plain);
    int n = vsnprintf(text, size, format, args);
    uselocale(before);
    return n;
}

int lti_print(char *text, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = print_plain(text, size, format, args);
    va_end(args);
    return n;
}

double lti_strtod(const char *text, char **end)
{
    pthread_once(&plain_once, make_plain);
    return plain ? strtod_l(text, end, plain) : strtod(text, end);
}

static bool reserve(lti_text *text, size_t more)
{
    if (text->failed) return false;
    if (text->length + more + 1 <= text->capacity) return true;
    size_t capacity = text->capacity ? text->capacity : 256;
    while (capacity < text->length + more + 1) capacity *= 2;
    char *data = lti_realloc(text->ctx, text->data, text->length, capacity);
    if (!data) {
        text->failed = true;
        return false;
    }
    text->data = data;
    text->capacity = capacity;
    return true;
}

void lti_text_add(lti_text *text, const char *bytes, size_t count)
{
    if (!reserve(text, count)) return;
    memcpy(text->data + text->length, bytes, count);
    text->length += count;
    text->data[text->length] = 0;
}

void lti_text_format(lti_text *text, const char *format, ...)
{
    char small[256];
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = print_plain(small, sizeof small, format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof small) {
        lti_text_add(text, small, (size_t)n);
    } else if (n >= 0 && reserve(text, (size_t)n)) {
        print_plain(text->data + text->length, (size_t)n + 1, format, again);
        text->length += (size_t)n;
    }
    va_end(again);
}

void lti_text_json(lti_text *text, const char *utf8)
{
    lti_text_add(text, "\"", 1);
    for (const unsigned char *p = (const unsigned char *)utf8; *p; p++) {
        if (*p == '"' || *p == '\\')
            lti_text_format(text, "\\%c", *p);
        else if (*p < 0x20)
            lti_text_format(text, "\\u%04x", *p);
        else
            lti_text_add(text, (const char *)p, 1);
    }
    lti_text_add(text, "\"", 1);
}

void lti_text_html(lti_text *text, const char *utf8)
{
    for (const char *p = utf8; *p; p++) {
        const char *entity = *p == '&'   ? "&amp;"
                             : *p == '<' ? "&lt;"
                             : *p == '>' ? "&gt;"
                             : *p == '"' ? "&quot;"
                                         : NULL;
        if (entity)
            lti_text_add(text, entity, strlen(entity));
        else
            lti_text_add(text, p, 1);
    }
}

void lti_text_free(lti_text *text)
{
    if (text->data) lti_free(text->ctx, text->data);
    *text = (lti_text){.ctx = text->ctx};
}

bool lti_ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);
    return n >= k && memcmp(text + n - k, end, k) == 0;
}
