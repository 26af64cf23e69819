/* demo_stories.c - a small grammar of children's stories.
 *
 * A model of three million parameters needs text whose regularities it can learn in a minute: words that agree (a name
 * and its pronoun), an object that returns, a problem and its end. A novel alone is too hard to show anything in that
 * time, and a fixed file would add a megabyte to the program. Templates name what they draw in braces:
 *
 *     {n} the hero's name   {N} the friend's name   {s} he or she   {S} He or She   {h} his or her
 *     {o} the object        {a} its adjective       {p} the place   {f} a feeling
 *     {k} the hero's kind (a girl, a fox) */
#include "cli/demo_data.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct hero {
    const char *name, *kind, *pronoun, *possessive;
} hero;

static const hero heroes[] = {
    {"Lily", "girl", "she", "her"},  {"Tom", "boy", "he", "his"},     {"Anna", "girl", "she", "her"},
    {"Max", "dog", "he", "his"},     {"Mimi", "cat", "she", "her"},   {"Ben", "boy", "he", "his"},
    {"Rosa", "girl", "she", "her"},  {"Finn", "fox", "he", "his"},    {"Pip", "mouse", "he", "his"},
    {"Molly", "duck", "she", "her"}, {"Oscar", "bear", "he", "his"},  {"Nina", "rabbit", "she", "her"},
    {"Sam", "boy", "he", "his"},     {"Greta", "goat", "she", "her"}, {"Leo", "lion", "he", "his"},
    {"Ella", "girl", "she", "her"},  {"Hugo", "frog", "he", "his"},   {"Clara", "hen", "she", "her"},
};
static const char *const objects[] = {"ball", "kite",  "boat", "drum",  "cake", "key",   "lamp",  "apple", "hat",
                                      "box",  "shell", "book", "spoon", "bell", "stone", "scarf", "pie",   "map"};
static const char *const adjectives[] = {"red",   "big",   "shiny", "little", "blue",  "old",
                                         "round", "green", "soft",  "yellow", "noisy", "pretty"};
static const char *const places[] = {"park",   "garden", "forest", "river", "beach",  "farm",
                                     "market", "hill",   "barn",   "pond",  "meadow", "old mill"};
static const char *const feelings[] = {"happy", "proud", "glad", "very happy", "full of joy", "warm inside"};

static const char *const openings[] = {
    "Once upon a time, there was a little {k} named {n}.",
    "One day, a {k} named {n} went to the {p}.",
    "{n} was a small {k} who lived near the {p}.",
    "There once was a {k} called {n}, and {s} loved to play in the {p}.",
    "In a house by the {p} lived a {k} named {n}.",
};
static const char *const wishes[] = {
    "{S} had a {a} {o} that {s} liked very much.",         "{n} wanted to find a {a} {o} for {h} friend {N}.",
    "Every morning, {s} took {h} {a} {o} to the {p}.",     "{N} gave {n} a {a} {o}, and {n} said, \"Thank you!\"",
    "{S} saw a {a} {o} in the {p} and wanted to have it.",
};
static const char *const troubles[] = {
    "But then the {o} fell into the water, and {n} began to cry.",
    "But the {o} was gone! {n} looked under the bed and behind the door.",
    "Suddenly, a strong wind came and took the {o} away.",
    "\"This is my {o},\" said {N}. \"No, it is mine!\" said {n}.",
    "But the {o} was too heavy, and {s} could not carry it alone.",
    "Then it began to rain, and the {a} {o} got wet.",
};
static const char *const helps[] = {
    "{N} heard {n} and came to help. \"Do not be sad,\" said {N}.",
    "\"Can you help me?\" {s} asked. \"Yes, I can,\" said {N}.",
    "{n} and {N} looked for the {o} together, and they found it near the {p}.",
    "{N} had an idea. \"Let us share the {o},\" {N} said.",
    "They pulled and pulled, and at last the {o} came free.",
    "A kind old man saw them and gave the {a} {o} back.",
};
static const char *const endings[] = {
    "{n} was {f}. From that day on, {n} and {N} were the best of friends.",
    "\"Thank you,\" said {n}, and {s} gave {N} a big hug. They were {f}.",
    "Then {s} went home with {h} {a} {o} and told {h} mom about the day.",
    "{n} learned that it is good to share. Everyone was {f}.",
    "They played in the {p} until the sun went down, and {n} felt {f}.",
};

/* What one story is about. */
typedef struct cast {
    const hero *hero, *other;
    const char *object, *adjective, *place, *feeling;
} cast;

static uint64_t draw(uint64_t *state, uint64_t n)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX generator */
    return (*state >> 33) % n;
}

#define PICK(list) (list[draw(state, sizeof(list) / sizeof *(list))])

static void put_slot(FILE *file, char slot, const cast *c)
{
    const hero *h = c->hero;
    switch (slot) {
    case 'n': fputs(h->name, file); break;
    case 'N': fputs(c->other->name, file); break;
    case 's': fputs(h->pronoun, file); break;
    case 'S': fprintf(file, "%c%s", toupper((unsigned char)*h->pronoun), h->pronoun + 1); break;
    case 'h': fputs(h->possessive, file); break;
    case 'k': fputs(h->kind, file); break;
    case 'o': fputs(c->object, file); break;
    case 'a': fputs(c->adjective, file); break;
    case 'p': fputs(c->place, file); break;
    default: fputs(c->feeling, file);
    }
}

static void put_sentence(FILE *file, const char *sentence, const cast *c, const char *after)
{
    for (const char *at = sentence; *at; at++) {
        if (*at == '{') {
            put_slot(file, at[1], c);
            at += 2;
        } else {
            fputc(*at, file);
        }
    }
    fputs(after, file);
}

static void put_story(FILE *file, uint64_t *state)
{
    cast c = {&PICK(heroes), NULL, PICK(objects), PICK(adjectives), PICK(places), PICK(feelings)};
    do {
        c.other = &PICK(heroes);
    } while (c.other == c.hero);
    put_sentence(file, PICK(openings), &c, " ");
    put_sentence(file, PICK(wishes), &c, "\n");
    put_sentence(file, PICK(troubles), &c, " ");
    put_sentence(file, PICK(helps), &c, "\n");
    put_sentence(file, PICK(endings), &c, "\n");
}

/* The novel as documents of about a thousand bytes, cut between paragraphs: those held out then come from all of it. */
static void put_novel(FILE *file)
{
    int64_t length = 0;
    for (const char *const *piece = cli_demo_text; *piece; piece++) {
        size_t n = strlen(*piece);
        fputs(*piece, file);
        length += (int64_t)n;
        if (length > 1000 && (*piece)[n - 1] == '\n') {
            fputs("<|endoftext|>\n", file);
            length = 0;
        }
    }
}

char *cli_demo_corpus(uint64_t seed, int64_t story_bytes, int64_t *bytes)
{
    char *text = NULL;
    size_t size = 0;
    uint64_t state = seed * 2 + 1;
    FILE *file = open_memstream(&text, &size);
    if (!file) return NULL;
    while (ftell(file) >= 0 && ftell(file) < story_bytes) {
        put_story(file, &state);
        fputs("<|endoftext|>\n", file);
    }
    put_novel(file);
    if (fclose(file) == 0) {
        *bytes = (int64_t)size;
        return text;
    }
    free(text);
    return NULL;
}
