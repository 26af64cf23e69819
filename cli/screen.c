/* screen.c - what the program says: messages, tables, numbers a person can read. */
#include "cli/cli.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void cli_put_clean(FILE *file, const char *text, size_t limit)
{
    for (size_t i = 0; text[i] && i < limit; i++)
        fputc((unsigned char)text[i] < 32 && text[i] != '\n' ? '?' : text[i] == 127 ? '?' : text[i], file);
}

static void put_message(const cli *c, const char *mark, const char *format, va_list list)
{
    char text[2048];
    vsnprintf(text, sizeof text, format, list);
    fprintf(stderr, "lathe%s%s: %s", c->verb ? " " : "", c->verb ? c->verb->name : "", mark);
    cli_put_clean(stderr, text, sizeof text);
    fputc('\n', stderr);
}

void cli_say(const cli *c, const char *format, ...)
{
    if (c->quiet) return;
    va_list list;
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
}

void cli_warn(const cli *c, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    put_message(c, c->color ? "\033[33mwarning:\033[0m " : "warning: ", format, list);
    va_end(list);
}

int cli_answer(cli *c, json_t *object)
{
    c->answered = true;
    int code = EXIT_MEMORY;
    if (object && json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) == 0) code = EXIT_DONE;
    if (code) fputs("lathe: error: the answer cannot be written as JSON (a name that is not UTF-8?)\n", stderr);
    fputc('\n', stdout);
    json_decref(object);
    return code;
}

int cli_fail(cli *c, int code, const char *format, ...)
{
    va_list list, again;
    va_start(list, format);
    va_copy(again, list);
    put_message(c, c->color ? "\033[31merror:\033[0m " : "error: ", format, list);
    va_end(list);
    if (c->json && !c->answered) {
        char text[2048];
        vsnprintf(text, sizeof text, format, again);
        cli_answer(c, json_pack("{s:s+, s:i}", "error", text, "", "exit_code", code));
    }
    va_end(again);
    return code;
}

static int exit_code(lt_status status, bool reading)
{
    switch (status) {
    case LT_OK: return EXIT_DONE;
    case LT_ENOMEM:
    case LT_ELIMIT: return reading && status == LT_ELIMIT ? EXIT_INPUT : EXIT_MEMORY;
    case LT_EINVAL: return reading ? EXIT_INPUT : EXIT_USAGE;
    case LT_EFORMAT: return EXIT_INPUT;
    case LT_EUNSUPPORTED: return EXIT_INPUT;
    case LT_ENONFINITE: return EXIT_DIVERGED;
    case LT_EINTERRUPTED: return EXIT_SIGNAL + (cli_stop ? cli_stop : 2);
    case LT_EIO: return reading ? EXIT_INPUT : EXIT_IO;
    case LT_EPROVIDER: return EXIT_IO;
    }
    return EXIT_IO;
}

int cli_fail_status(cli *c, lt_status status, bool reading)
{
    const char *message = lt_ctx_message(c->ctx);
    return cli_fail(c, exit_code(status, reading), "%s", *message ? message : lt_status_name(status));
}

json_t *cli_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

const char *cli_bytes(char buffer[32], uint64_t bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double value = (double)bytes;
    int unit = 0;
    while (value >= 999.5 && unit < 4) value /= 1000, unit++;
    snprintf(buffer, 32, "%.*f %s", unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2, value, units[unit]);
    return buffer;
}

const char *cli_thousands(char buffer[32], int64_t number)
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%lld", (long long)number), out = 0;
    for (int i = 0; i < n; i++) {
        if (i && digits[i - 1] != '-' && (n - i) % 3 == 0) buffer[out++] = ',';
        buffer[out++] = digits[i];
    }
    buffer[out] = 0;
    return buffer;
}

const char *cli_clock(char buffer[32], double seconds)
{
    if (!(seconds >= 0 && seconds < 3.6e8)) return strcpy(buffer, "-");
    long whole = lround(seconds);
    if (whole >= 3600)
        snprintf(buffer, 32, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
    else
        snprintf(buffer, 32, "%ld:%02ld", whole / 60, whole % 60);
    return buffer;
}

double cli_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- Tables ---- */
enum { MAX_COLUMNS = 16 };

static bool is_number(const char *cell, int length)
{
    return length > 0 && (isdigit((unsigned char)*cell) || (*cell == '-' && length > 1) || *cell == '+');
}

void cli_table(FILE *file, const char *rows)
{
    int widths[MAX_COLUMNS] = {0};
    for (int pass = 0; pass < 2; pass++)
        for (const char *row = rows; *row; row += strcspn(row, "\n"), row += *row == '\n') {
            int left = (int)strcspn(row, "\n");
            const char *cell = row;
            for (int column = 0; column < MAX_COLUMNS && left >= 0; column++) {
                int length = (int)strcspn(cell, "\t\n");
                bool to_right = column > 0 && (is_number(cell, length) || row == rows);
                if (pass == 0 && length > widths[column]) widths[column] = length;
                if (pass == 1)
                    fprintf(file, "%s%*.*s", column ? "  " : "", to_right ? widths[column] : -widths[column], length,
                            cell);
                left -= length + 1;
                cell += length + 1;
            }
            if (pass == 1) fputc('\n', file);
        }
}
