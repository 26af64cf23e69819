/* main.c - the lathe program: finds the verb, reads its options, runs it.
 *
 * OpenBLAS picks its kernels while the program is loaded, by a CPU table older than many CPUs (products are up to
 * five times slower where it errs), and listens to OPENBLAS_CORETYPE only then: setenv in main comes too late. So the
 * program runs itself once more with the variable set. So with GOMP_SPINCOUNT: by default an OpenMP thread that waits
 * spins for a millisecond, and where another program wants the core, steps take ten times as long. The library never
 * touches the environment. */
#include "cli/cli.h"

#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REEXEC_GUARD "LATHE_PREPARED"
#define SPIN_COUNT "2000"

volatile int cli_stop;

static const cli_verb *const verbs[] = {&cli_verb_demo,    &cli_verb_train,   &cli_verb_eval,    &cli_verb_generate,
                                        &cli_verb_inspect, &cli_verb_doctor,  &cli_verb_bench,   &cli_verb_tokenize,
                                        &cli_verb_convert, &cli_verb_cluster, &cli_verb_quantize};
enum { N_VERBS = sizeof verbs / sizeof *verbs };
static const char *const verbs_to_come[] = {"dump",   "prune", "factor",   "merge",
                                            "search", "run",   "rollback", "compress"};
enum { N_TO_COME = sizeof verbs_to_come / sizeof *verbs_to_come };

/* The OpenBLAS kernels this CPU can run, or NULL to leave the choice to OpenBLAS. */
static const char *core_type(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        return "SkylakeX";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "Haswell";
#endif
    return NULL;
}

/* What the user has set stays as it is. */
static void run_again_prepared(char **argv)
{
    if (getenv(REEXEC_GUARD) || setenv(REEXEC_GUARD, "1", 1)) return;
    const char *core = getenv("OPENBLAS_CORETYPE") ? NULL : core_type();
    bool spins = !getenv("OMP_WAIT_POLICY") && !getenv("GOMP_SPINCOUNT");
    if (core && setenv("OPENBLAS_CORETYPE", core, 1)) return;
    if (spins && setenv("GOMP_SPINCOUNT", SPIN_COUNT, 1)) return;
    if (core || spins) execv("/proc/self/exe", argv); /* if it fails, lathe is slower; nothing else changes */
}

/* The first signal asks for a checkpoint, the second does not wait for it. */
static void on_signal(int number)
{
    if (cli_stop) _exit(EXIT_SIGNAL + number);
    cli_stop = number;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static void list_verbs(FILE *file)
{
    fprintf(file, "lathe %s: trains models while compressing them, on CPUs\n\nusage: lathe VERB [options]\n\n",
            lt_version());
    for (int i = 0; i < N_VERBS; i++) fprintf(file, "  %-10s %s\n", verbs[i]->name, verbs[i]->summary);
    fprintf(file, "\nlathe help VERB lists its options. With a later version:");
    for (int i = 0; i < N_TO_COME; i++) fprintf(file, "%s %s", i ? "," : "", verbs_to_come[i]);
    fprintf(file, ".\nTo see everything work, offline and in minutes: lathe demo\n");
}

static const cli_verb *find_verb(const char *name)
{
    for (int i = 0; i < N_VERBS; i++)
        if (!strcmp(verbs[i]->name, name)) return verbs[i];
    return NULL;
}

static int unknown_verb(cli *c, const char *name)
{
    const char *nearest = "";
    int best = INT_MAX;
    for (int i = 0; i < N_TO_COME; i++)
        if (!strcmp(verbs_to_come[i], name))
            return cli_fail(c, EXIT_USAGE, "the verb '%s' comes with a later version; lathe --help lists those of now",
                            name);
    for (int i = 0; i < N_VERBS + N_TO_COME; i++) {
        const char *known = i < N_VERBS ? verbs[i]->name : verbs_to_come[i - N_VERBS];
        int distance = cli_distance(name, known);
        if (distance < best) best = distance, nearest = known;
    }
    return cli_fail(c, EXIT_USAGE, "unknown verb '%s'; did you mean '%s'? (lathe --help lists all)", name, nearest);
}

/* The command as one could type it again. */
static char *join_command(int argc, char **argv)
{
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);
    if (!file) return NULL;
    for (int i = 0; i < argc; i++) {
        const char *word = i ? argv[i] : "lathe";
        bool plain = *word && !word[strcspn(word, " \t\n'\"\\$&|;<>()*?[]#~`!{}")];
        fputs(i ? " " : "", file);
        if (!plain) fputc('\'', file);
        for (const char *at = word; *at; at++)
            if (*at == '\'')
                fputs("'\\''", file);
            else
                fputc(*at, file);
        if (!plain) fputc('\'', file);
    }
    if (fclose(file) == 0) return text;
    free(text);
    return NULL;
}

static int run_verb(cli *c, int argc, char **argv)
{
    void *target = calloc(1, c->verb->target_bytes);
    if (!target) return cli_fail(c, EXIT_MEMORY, "out of memory before the start");
    cli_settings settings;
    int code = cli_settings_read(&settings, c->verb, target, argc, argv);
    const cli_common *common = target;
    c->settings = &settings;
    c->json = c->json || common->json;
    c->quiet = common->quiet;
    if (code) {
        cli_fail(c, code, "%s", settings.error);
    } else if (common->help) {
        cli_help(stdout, c->verb);
    } else {
        if (common->threads > 0) lt_set_threads((int)common->threads);
        code = c->verb->run(c, target);
    }
    cli_settings_free(&settings);
    free(target);
    return code;
}

static int dispatch(cli *c, int argc, char **argv)
{
    if (argc < 2) {
        list_verbs(stderr);
        return EXIT_USAGE;
    }
    const char *word = argv[1];
    if (!strcmp(word, "--version") || !strcmp(word, "-V") || !strcmp(word, "version")) {
        printf("lathe %s\n", lt_version());
        return EXIT_DONE;
    }
    bool help = !strcmp(word, "help");
    if (!strcmp(word, "--help") || !strcmp(word, "-h") || (help && argc < 3)) {
        list_verbs(stdout);
        return EXIT_DONE;
    }
    if (help) word = argv[2];
    if (*word == '-') return cli_fail(c, EXIT_USAGE, "%s before the verb: write lathe VERB %s ...", word, word);
    c->verb = find_verb(word);
    if (!c->verb) return unknown_verb(c, word);
    if (help) {
        cli_help(stdout, c->verb);
        return EXIT_DONE;
    }
    return run_verb(c, argc - 2, argv + 2);
}

int main(int argc, char **argv)
{
    run_again_prepared(argv);
    catch_signals();
    char *command = join_command(argc, argv);
    cli c = {.ctx = lt_ctx_create(NULL), .command = command, .tty = isatty(STDERR_FILENO)};
    const char *no_color = getenv("NO_COLOR");
    c.color = c.tty && !(no_color && *no_color);
    for (int i = 1; i < argc; i++) c.json = c.json || !strcmp(argv[i], "--json");
    int code = c.ctx && command ? dispatch(&c, argc, argv) : cli_fail(&c, EXIT_MEMORY, "out of memory at the start");
    lt_ctx_free(c.ctx);
    free(command);
    bool lost = ferror(stdout);
    if ((fclose(stdout) || lost) && code == EXIT_DONE) {
        fputs("lathe: the result could not be written to stdout\n", stderr);
        code = EXIT_IO;
    }
    return code;
}
