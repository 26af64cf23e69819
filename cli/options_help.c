/* options_help.c - the table as text, and the nearest known word. */
#include "cli/cli.h"

#include <ctype.h>
#include <string.h>

enum { HELP_COLUMN = 30, HELP_WIDTH = 110 };

/* Optimal string alignment over three rows. A prefix costs little: --learning for --learning-rate. */
int cli_distance(const char *a, const char *b)
{
    int rows[3][66];
    int m = (int)strnlen(a, 64), n = (int)strnlen(b, 64);
    if (m >= 3 && m < n && !strncmp(a, b, (size_t)m)) return 1;
    int *before = rows[0], *last = rows[1], *row = rows[2];
    for (int j = 0; j <= n; j++) last[j] = before[j] = j;
    char above = 0;
    for (int i = 1; i <= m; i++) {
        char x = a[i - 1] == '-' ? '_' : (char)tolower((unsigned char)a[i - 1]), left = 0;
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            char y = b[j - 1] == '-' ? '_' : (char)tolower((unsigned char)b[j - 1]);
            int cost = last[j - 1] + (x != y);
            if (last[j] + 1 < cost) cost = last[j] + 1;
            if (row[j - 1] + 1 < cost) cost = row[j - 1] + 1;
            if (i > 1 && j > 1 && x == left && above == y && before[j - 2] + 1 < cost) cost = before[j - 2] + 1;
            row[j] = cost;
            left = y;
        }
        int *free_row = before;
        before = last, last = row, row = free_row;
        above = x;
    }
    return last[n];
}

static void put_wrapped(FILE *file, const char *text, int column)
{
    for (const char *word = text; *word; word += *word == ' ') {
        int length = (int)strcspn(word, " ");
        if (column + 1 + length > HELP_WIDTH) {
            fprintf(file, "\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        } else if (word > text) {
            fputc(' ', file);
            column++;
        }
        fprintf(file, "%.*s", length, word);
        column += length;
        word += length;
    }
}

static void put_option(FILE *file, const cli_option *o)
{
    static const char *const values[] = {"", "N", "X", "SIZE", "TEXT", "", "TEXT"};
    char left[160], name[64], text[512];
    snprintf(name, sizeof name, "%s", o->name);
    for (char *c = name; *c; c++)
        if (*c == '_') *c = '-';
    const char *value = o->value ? o->value : o->choices ? o->choices : values[o->type];
    if ((int)strlen(value) > HELP_WIDTH - HELP_COLUMN) value = "TYPE";
    snprintf(left, sizeof left, "  --%s%s%s", name, *value ? " " : "", value);
    fprintf(file, "%-*s", HELP_COLUMN - 1, left);
    if ((int)strlen(left) >= HELP_COLUMN) fprintf(file, "\n%*s", HELP_COLUMN - 1, "");
    fputc(' ', file);
    bool shown = o->fallback && o->type != CLI_SWITCH;
    snprintf(text, sizeof text, "%s%s%s%s", o->help, shown ? " [" : "", shown ? o->fallback : "", shown ? "]" : "");
    put_wrapped(file, text, HELP_COLUMN);
    fputc('\n', file);
}

void cli_help(FILE *file, const cli_verb *verb)
{
    fprintf(file, "lathe %s: %s\n\nusage: lathe %s %s\n", verb->name, verb->summary, verb->name, verb->usage);
    const char *group = NULL;
    for (int i = 0; i < cli_option_count(verb); i++) {
        const cli_option *o = cli_option_at(verb, i);
        if (cli_option_shadowed(verb, i)) continue;
        if (!group || strcmp(group, o->group)) fprintf(file, "\n%s\n", o->group);
        group = o->group;
        put_option(file, o);
    }
    if (verb->later) {
        fprintf(file, "\nWith a later version\n%*s", HELP_COLUMN, "");
        int column = HELP_COLUMN;
        for (const char *const *later = verb->later; *later; later++) {
            if (column + 1 + (int)strlen(*later) > HELP_WIDTH) {
                fprintf(file, "\n%*s", HELP_COLUMN, "");
                column = HELP_COLUMN;
            }
            column += fprintf(file, "%s%s", column > HELP_COLUMN ? " " : "", *later);
        }
        fputc('\n', file);
    }
    fprintf(file, "\nEvery option is a key of the -c FILE too: --learning-rate 1e-4 is `learning_rate: 1e-4`.\n"
                  "Exit codes: 0 done, 1 a gate failed, 2 usage, 3 bad input file, 4 memory, 5 diverged, 6 I/O,\n"
                  "130/143 interrupted with a checkpoint saved.\n");
}
