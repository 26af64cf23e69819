/* loader.c - see loader.h.
 *
 * Which rows come next is decided by the training thread, which alone touches the batches and the context; the loader's
 * thread gets a list of rows and copies. So it cannot fail, order and bits are those of a run without it, and a run
 * that stops, rolls back or seeks has nothing to undo: what was asked for and is not taken is forgotten. A queue deeper
 * than one would hide nothing more, since copying a batch takes less than a step. */
#include "train/loader.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

typedef enum state { IDLE, ASKED, READY } state; /* of the back buffer */

struct lti_loader {
    lt_ctx *ctx;
    const lt_dataset *data;
    lti_feed feed[2];
    int front; /* the one that was taken last */
    int64_t hits;
    /* Of what was asked for: written in IDLE by the training thread, read in ASKED by the loader's. */
    int64_t *rows; /* [B] */
    int64_t count, length;
    bool threaded;
    pthread_t thread;
    pthread_mutex_t lock; /* guards state and quit */
    pthread_cond_t changed;
    state state;
    bool quit;
};

static void *work(void *arg)
{
    lti_loader *l = arg;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (l->state != ASKED && !l->quit) pthread_cond_wait(&l->changed, &l->lock);
        if (l->quit) break;
        pthread_mutex_unlock(&l->lock);
        lti_feed_fill(&l->feed[!l->front], l->data, l->count, l->rows, l->count, l->length);
        pthread_mutex_lock(&l->lock);
        l->state = READY;
        pthread_cond_broadcast(&l->changed);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* Signals are the program's: the thread is born with all of them blocked. */
static bool start(lti_loader *l)
{
    sigset_t all, before;
    if (pthread_mutex_init(&l->lock, NULL)) return false;
    if (pthread_cond_init(&l->changed, NULL)) {
        pthread_mutex_destroy(&l->lock);
        return false;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&l->thread, NULL, work, l) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started) return true;
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
    return false;
}

lt_status lti_loader_create(lt_ctx *ctx, const lti_row_layout *layout, const lt_dataset *data, int64_t B, int64_t T,
                            bool ahead, lti_loader **loader)
{
    *loader = NULL;
    lti_loader *l = lti_alloc(ctx, sizeof *l);
    if (!l) return LT_ENOMEM;
    l->ctx = ctx;
    l->data = data;
    lt_status status = LT_OK;
    for (int i = 0; i < (ahead ? 2 : 1) && status == LT_OK; i++) {
        l->feed[i] = (lti_feed){.ctx = ctx, .layout = *layout};
        status = lti_feed_reserve(&l->feed[i], B, T);
    }
    if (status == LT_OK && ahead) {
        l->rows = lti_alloc_array(ctx, (size_t)B, sizeof *l->rows);
        status = l->rows ? LT_OK : LT_ENOMEM;
    }
    if (status != LT_OK) {
        lti_loader_free(l);
        return status;
    }
    l->threaded = ahead && start(l);
    *loader = l;
    return LT_OK;
}

void lti_loader_free(lti_loader *l)
{
    if (!l) return;
    if (l->threaded) {
        pthread_mutex_lock(&l->lock);
        l->quit = true;
        pthread_cond_broadcast(&l->changed);
        pthread_mutex_unlock(&l->lock);
        pthread_join(l->thread, NULL);
        pthread_cond_destroy(&l->changed);
        pthread_mutex_destroy(&l->lock);
    }
    for (int i = 0; i < 2; i++)
        if (l->feed[i].ctx) lti_feed_free(&l->feed[i]);
    lti_free(l->ctx, l->rows);
    lti_free(l->ctx, l);
}

/* Waits until the thread is done; whether anything was asked for. */
static bool settle(lti_loader *l)
{
    if (!l->threaded) return false;
    pthread_mutex_lock(&l->lock);
    bool asked = l->state != IDLE;
    while (l->state == ASKED) pthread_cond_wait(&l->changed, &l->lock);
    l->state = IDLE;
    pthread_mutex_unlock(&l->lock);
    return asked;
}

const lti_feed *lti_loader_take(lti_loader *l, const lt_batch *batch, int64_t T)
{
    bool hit = settle(l) && l->count == batch->rows && l->length == T &&
               memcmp(l->rows, batch->indices, (size_t)batch->rows * sizeof *l->rows) == 0;
    if (hit) {
        l->front = !l->front;
        l->hits++;
    } else {
        lti_feed_fill(&l->feed[l->front], l->data, batch->rows, batch->indices, batch->rows, T);
    }
    return &l->feed[l->front];
}

void lti_loader_ask(lti_loader *l, const lt_batch *batch, int64_t T)
{
    if (!l->threaded) return;
    settle(l);
    memcpy(l->rows, batch->indices, (size_t)batch->rows * sizeof *l->rows);
    l->count = batch->rows;
    l->length = T;
    pthread_mutex_lock(&l->lock);
    l->state = ASKED;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

int64_t lti_loader_hits(const lti_loader *l)
{
    return l->hits;
}
