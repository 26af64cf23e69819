/* options_yaml.c - the options as a YAML file: read with libyaml, written by hand.
 *
 * A configuration is one flat mapping from option names to scalars (or a sequence, for an option that may be repeated).
 * Every message carries file:line. */
#include "cli/cli.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

/* `key:` and `key: null` leave the default. */
static bool is_null(const yaml_node_t *node)
{
    const char *text = (const char *)node->data.scalar.value;
    return node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (!*text || !strcmp(text, "~") || !strcasecmp(text, "null"));
}

static int read_sequence(cli_settings *s, yaml_document_t *document, const yaml_node_t *node, int index,
                         const char *origin)
{
    const char *name = cli_option_at(s->verb, index)->name;
    if (cli_option_at(s->verb, index)->type != CLI_LIST)
        return cli_settings_fail(s, EXIT_USAGE, "%s: %s takes one value, not a list", origin, name);
    for (yaml_node_item_t *item = node->data.sequence.items.start; item < node->data.sequence.items.top; item++) {
        yaml_node_t *value = yaml_document_get_node(document, *item);
        if (value->type != YAML_SCALAR_NODE)
            return cli_settings_fail(s, EXIT_USAGE, "%s: %s: an item of the list is no plain value", origin, name);
        bool fresh = item == node->data.sequence.items.start;
        int code = cli_settings_set(s, index, (const char *)value->data.scalar.value, origin, fresh);
        if (code) return code;
    }
    return 0;
}

static int read_pair(cli_settings *s, yaml_document_t *document, const yaml_node_pair_t *pair, const char *path)
{
    yaml_node_t *key = yaml_document_get_node(document, pair->key);
    yaml_node_t *value = yaml_document_get_node(document, pair->value);
    size_t size = strlen(path) + 32;
    char *origin = cli_settings_keep(s, malloc(size));
    if (!origin) return EXIT_MEMORY;
    snprintf(origin, size, "%s:%zu", path, key->start_mark.line + 1);
    if (key->type != YAML_SCALAR_NODE)
        return cli_settings_fail(s, EXIT_USAGE, "%s: a key must be the name of an option", origin);
    const char *name = (const char *)key->data.scalar.value;
    int index = cli_option_find(s->verb, name);
    if (index < 0) {
        char where[512];
        snprintf(where, sizeof where, "%s: ", origin);
        return cli_settings_unknown(s, where, "", name);
    }
    if (!strcmp(cli_option_at(s->verb, index)->name, "config"))
        return cli_settings_fail(s, EXIT_USAGE, "%s: a configuration may not name another one", origin);
    if (s->origins[index])
        return cli_settings_fail(s, EXIT_USAGE, "%s: %s was set before, at %s; keep one of them", origin, name,
                                 s->origins[index]);
    if (value->type == YAML_SEQUENCE_NODE) return read_sequence(s, document, value, index, origin);
    if (value->type != YAML_SCALAR_NODE)
        return cli_settings_fail(s, EXIT_USAGE, "%s: %s takes a plain value; options are not nested", origin, name);
    return is_null(value) ? 0 : cli_settings_set(s, index, (const char *)value->data.scalar.value, origin, true);
}

static int read_document(cli_settings *s, yaml_document_t *document, const char *path)
{
    yaml_node_t *root = yaml_document_get_root_node(document);
    if (!root) return 0; /* an empty file sets nothing */
    if (root->type == YAML_SCALAR_NODE && is_null(root)) return 0;
    if (root->type != YAML_MAPPING_NODE)
        return cli_settings_fail(s, EXIT_USAGE, "%s:%zu: expected lines of the form `option: value`", path,
                                 root->start_mark.line + 1);
    for (yaml_node_pair_t *pair = root->data.mapping.pairs.start; pair < root->data.mapping.pairs.top; pair++) {
        int code = read_pair(s, document, pair, path);
        if (code) return code;
    }
    return 0;
}

int cli_settings_read_yaml(cli_settings *s, const char *path)
{
    FILE *file = fopen(path, "re");
    if (!file) return cli_settings_fail(s, EXIT_INPUT, "%s: cannot open the configuration: %s", path, strerror(errno));
    /* The path stands in `origins`, and --config itself may be replaced by a later flag. */
    path = cli_settings_keep(s, strdup(path));
    yaml_parser_t parser;
    yaml_document_t document;
    int code = EXIT_MEMORY;
    if (path && yaml_parser_initialize(&parser)) {
        yaml_parser_set_input_file(&parser, file);
        if (yaml_parser_load(&parser, &document)) {
            code = read_document(s, &document, path);
            yaml_document_delete(&document);
        } else {
            code = cli_settings_fail(
                s, EXIT_INPUT, "%s:%zu: no valid YAML: %s; write lines of the form `option: value`", path,
                parser.problem_mark.line + 1, parser.problem ? parser.problem : "it cannot be read");
        }
        yaml_parser_delete(&parser);
    }
    fclose(file);
    return code;
}

/* ---- Writing ---- */

/* Words that some reader of YAML would take for something else than text are quoted. */
static bool plain_text(const char *text)
{
    static const char *const words[] = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"};
    if (!isalpha((unsigned char)*text) && *text != '/' && *text != '_') return false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcasecmp(text, words[i])) return false;
    for (const char *c = text; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("_./-+", *c)) return false;
    return true;
}

static void put_text(FILE *file, const char *text)
{
    if (plain_text(text)) {
        fputs(text, file);
        return;
    }
    fputc('"', file);
    for (const char *c = text; *c; c++) {
        if (*c == '"' || *c == '\\')
            fprintf(file, "\\%c", *c);
        else if ((unsigned char)*c < 32 || *c == 127)
            fprintf(file, "\\x%02x", (unsigned)*c);
        else
            fputc(*c, file);
    }
    fputc('"', file);
}

/* The shortest number that reads back as itself; with a point before an exponent, or YAML 1.1 sees a string. */
static void put_real(FILE *file, double value)
{
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    char *exponent = strchr(text, 'e');
    if (exponent && !strchr(text, '.'))
        fprintf(file, "%.*s.0%s", (int)(exponent - text), text, exponent);
    else
        fputs(text, file);
}

static void put_value(FILE *file, const cli_option *o, const void *place)
{
    const char *text;
    switch (o->type) {
    case CLI_SWITCH: fputs(*(const bool *)place ? "true" : "false", file); break;
    case CLI_INT: fprintf(file, "%lld", (long long)*(const int64_t *)place); break;
    case CLI_REAL: put_real(file, *(const double *)place); break;
    case CLI_BYTES: fprintf(file, "%llu", (unsigned long long)*(const uint64_t *)place); break;
    case CLI_TEXT:
    case CLI_CHOICE:
        memcpy(&text, place, sizeof text);
        put_text(file, text);
        break;
    case CLI_LIST:
        for (int i = 0; i < ((const cli_list *)place)->count; i++) {
            fputs(i ? ", " : "[", file);
            put_text(file, ((const cli_list *)place)->items[i]);
        }
        fputc(']', file);
        break;
    }
}

static bool has_value(const cli_option *o, const void *place)
{
    const char *text;
    if (o->type == CLI_LIST) return ((const cli_list *)place)->count > 0;
    if (o->type != CLI_TEXT && o->type != CLI_CHOICE) return true;
    memcpy(&text, place, sizeof text);
    return text;
}

char *cli_settings_yaml(const cli_settings *s)
{
    char *yaml = NULL;
    size_t size;
    FILE *file = open_memstream(&yaml, &size);
    if (!file) return NULL;
    fprintf(file, "# lathe %s: the resolved configuration; run it again with: lathe %s -c FILE\n", s->verb->name,
            s->verb->name);
    const char *group = NULL;
    for (int i = 0; i < cli_option_count(s->verb); i++) {
        const cli_option *o = cli_option_at(s->verb, i);
        const void *place = (const char *)s->target + o->offset;
        if ((o->flags & CLI_TRANSIENT) || !has_value(o, place) || cli_option_shadowed(s->verb, i)) continue;
        if (!group || strcmp(group, o->group)) fprintf(file, "\n# %s\n", o->group);
        group = o->group;
        fprintf(file, "%s: ", o->name);
        put_value(file, o, place);
        fputc('\n', file);
    }
    if (fclose(file) == 0) return yaml;
    free(yaml);
    return NULL;
}
