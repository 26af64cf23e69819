/* test_resume.c - checkpoints: a run stopped anywhere and gone on with has the bits of one that was not; what cannot go
 * on says why, and damage is passed over. */
#include "tests/toy_run.h"

#include <sys/stat.h>

/* ---- Bit for bit ---- */

static void fuse(toy_run *r)
{
    r->config.max_grad_norm = 0;
}

static void quantize(toy_run *r)
{
    r->config.quant.weights.type = LT_Q4_0, r->config.quant.embedding.type = LT_Q8_0, r->config.qat_start = 0.4;
}

static void accumulate(toy_run *r)
{
    r->config.batch_size = 3, r->config.grad_accumulation_steps = 4, r->config.checkpoint_activations = true;
}

static void descend(toy_run *r)
{
    r->config.optimizer = "sgd", r->config.momentum = 0.9, r->config.lr_schedule = "wsd";
    r->config.freeze = "*norm*", r->config.log_every = 5;
}

static void stopping_changes_no_bit(void)
{
    static const int64_t each[] = {-1, 1, 2, 3, 4, 6, 7, 11};
    for (int i = 0; i < LTI_COUNT(each); i++) toy_stopped_and_resumed("adamw", NULL, 1, &each[i]);
    toy_stopped_and_resumed("stopped often", NULL, TOY_STOPS(2, 3, 5, 6, 10));
    toy_stopped_and_resumed("fused", fuse, TOY_STOPS(5));
    toy_stopped_and_resumed("on a lattice", quantize, TOY_STOPS(3, 7));
    toy_stopped_and_resumed("accumulated", accumulate, TOY_STOPS(4));
    toy_stopped_and_resumed("sgd", descend, TOY_STOPS(10));
}

/* ---- As models ---- */

static void a_checkpoint_opens_as_a_model(void)
{
    ts_place p = ts_open_place();
    char out[512], path[600];
    snprintf(out, sizeof out, "%s/run", p.dir);
    toy_run r = toy_new_run(&p, out);
    r.config.save_every = 12;
    lt_model *opened = NULL;
    snprintf(path, sizeof path, "%s/checkpoints/ckpt-000012", out);
    if (TS_OK(p.ctx, toy_go(&r)) && TS_OK(p.ctx, lt_model_open(p.ctx, path, &opened)))
        toy_same_weights(opened, r.model, "a checkpoint as a model");
    lt_model_free(opened);
    lt_model_free(r.model);
    ts_close_place(&p);
}

/* ---- Settings ---- */

static void changed_settings(void)
{
    static const char *const words[] = {
        "learning_rate was 0.005 and is 0.001 now; use the old setting, or --resume never to start anew",
        "steps was 12 and is 20 now",
        "batch_size was 4 and is 2",
        "grad_accumulation_steps was 1 and is 2",
        "lr_schedule was 'cosine' and is 'linear'",
        "warmup_ratio was 0.05 and is 0.5",
        "optimizer was 'adamw' and is 'sgd'",
        "weight_decay was 0 and is 0.1",
        "beta1 was 0.9 and is 0.8",
        "max_grad_norm was 1 and is 0",
        "seed was 0 and is 5",
        "'blk.0.attn_q.weight' was trained on f32 and would be on q8_0 now",
        "'token_embd.weight' was trained on f32 and would be on f16 now",
        "freeze was '' and is '*norm*'",
        "train_only was '' and is 'blk.*'",
        "checkpoint_activations was false and is true",
        "model was 'llama:",
    };
    ts_place p = ts_open_place();
    toy_run r = toy_new_run(&p, p.dir);
    r.config.steps = STEPS, r.stop_after = 2;
    TS_REFUSED(p.ctx, toy_go_once(&r), LT_EINTERRUPTED, "stopped after step 2");
    for (int i = 0; i < LTI_COUNT(words); i++) {
        toy_run q = r;
        q.stop_after = 0;
        lt_train_config *c = &q.config;
        switch (i) {
        case 0: c->learning_rate = 1e-3; break;
        case 1: c->steps = 20; break;
        case 2: c->batch_size = 2; break;
        case 3: c->grad_accumulation_steps = 2; break;
        case 4: c->lr_schedule = "linear"; break;
        case 5: c->warmup_ratio = 0.5; break;
        case 6: c->optimizer = "sgd"; break;
        case 7: c->weight_decay = 0.1; break;
        case 8: c->beta1 = 0.8; break;
        case 9: c->max_grad_norm = 0; break;
        case 10: c->seed = 5; break;
        case 11: c->quant.weights.type = LT_Q8_0; break;
        case 12: c->quant.embedding.type = LT_F16; break;
        case 13: c->freeze = "*norm*"; break;
        case 14: c->train_only = "blk.*"; break;
        case 15: c->checkpoint_activations = true; break;
        default: q.init = TOY_INIT ",rope_theta=500000"; break; /* the same tensors, another function */
        }
        TS_REFUSED(p.ctx, toy_go_once(&q), LT_EINVAL, words[i]);
        TS_CHECK(strstr(lt_ctx_message(p.ctx), "ckpt-000002: cannot go on bit for bit"), "%s", lt_ctx_message(p.ctx));
    }
    r.stop_after = 0;
    r.config.keep = 5, r.config.log_every = 2, r.config.save_every = 4; /* what the bits do not depend on may change */
    TS_OK(p.ctx, toy_go_once(&r));
    TS_CHECK(r.first_step == 2, "resumed at %lld", (long long)r.first_step);
    ts_close_place(&p);
}

static void which_checkpoint(void)
{
    ts_place p = ts_open_place();
    char here[300], there[300];
    snprintf(there, sizeof there, "%s", ts_at(&p, "there"));
    toy_run r = toy_new_run(&p, p.dir), q = toy_new_run(&p, there);
    r.config.keep = 3;
    TS_OK(p.ctx, toy_go(&r));
    TS_CHECK(!toy_exists(ts_at(&p, "checkpoints/ckpt-000003")) && toy_exists(ts_at(&p, "checkpoints/ckpt-000006")) &&
                 toy_exists(ts_at(&p, "checkpoints/ckpt-000009")) && toy_exists(ts_at(&p, "checkpoints/ckpt-000012")),
             "the newest three are kept");
    snprintf(here, sizeof here, "%s", ts_at(&p, "checkpoints/ckpt-000006"));
    q.config.resume = here;
    TS_OK(p.ctx, toy_go(&q));
    TS_CHECK(q.first_step == 6 && strcmp(q.resumed, here) == 0, "from a named one into another directory");
    toy_same_weights(r.model, q.model, "a branch of the run");
    toy_run finished = toy_new_run(&p, p.dir);
    finished.config.keep = 3;
    TS_OK(p.ctx, toy_go(&finished));
    TS_CHECK(finished.first_step == STEPS && finished.lines == 0 && finished.result.last_loss == r.result.last_loss,
             "a finished run has nothing to do");
    toy_same_weights(r.model, finished.model, "a finished run");
    finished.config.resume = "never";
    TS_OK(p.ctx, toy_go(&finished));
    TS_CHECK(finished.first_step == 0 && finished.lines == STEPS, "never: from the start");
    toy_same_weights(r.model, finished.model, "started anew");
    finished.config.resume = NULL;
    TS_OK(p.ctx, toy_go(&finished));
    TS_CHECK(finished.first_step == 0, "NULL is never");
    q.config.resume = there; /* no checkpoint, but a directory */
    TS_REFUSED(p.ctx, toy_go(&q), LT_EIO, "manifest.json");
    lt_model_free(r.model);
    lt_model_free(q.model);
    lt_model_free(finished.model);
    ts_close_place(&p);
}

/* ---- Damage ---- */

static void put_hash_right(ts_place *p, const char *name)
{
    char path[512], hash[40], manifest[600], text[80];
    snprintf(path, sizeof path, "%s/checkpoints/%s/state.safetensors", p->dir, name);
    TS_OK(p->ctx, lt_file_hash(p->ctx, path, hash));
    snprintf(manifest, sizeof manifest, "%s/checkpoints/%s/manifest.json", p->dir, name);
    snprintf(text, sizeof text, "{\"state.safetensors\": \"%s\"}", hash);
    toy_set_json(manifest, "xxh3", text);
}

static void damaged_checkpoints_are_passed_over(void)
{
    static const char *const words[] = {"the file is damaged: its XXH3 is",
                                        "manifest.json names no hash",
                                        "not JSON",
                                        "manifest.json has no state",
                                        "manifest.json",
                                        "state.safetensors"};
    ts_place p = ts_open_place();
    toy_run whole = toy_new_run(&p, ts_at(&p, "whole"));
    char out[256];
    snprintf(out, sizeof out, "%s", p.path);
    whole.out = out;
    TS_OK(p.ctx, toy_go(&whole));
    for (int i = 0; i < LTI_COUNT(words); i++) {
        toy_run r = toy_new_run(&p, p.dir);
        r.config.resume = "never", r.stop_after = 8;
        TS_REFUSED(p.ctx, toy_go_once(&r), LT_EINTERRUPTED, "stopped after step 8"); /* 6 and 8 are there */
        const char *manifest = ts_at(&p, "checkpoints/ckpt-000008/manifest.json");
        switch (i) {
        case 0: toy_flip(ts_at(&p, "checkpoints/ckpt-000008/state.safetensors"), -1000); break;
        case 1: toy_set_json(manifest, "xxh3", "{}"); break;
        case 2: toy_cut(manifest, 30); break;
        case 3: toy_set_json(manifest, "state", "3"); break;
        case 4: TS_CHECK(unlink(manifest) == 0, "removed"); break;
        default: TS_CHECK(unlink(ts_at(&p, "checkpoints/ckpt-000008/state.safetensors")) == 0, "removed"); break;
        }
        r.config.resume = "auto", r.stop_after = 0;
        TS_OK(p.ctx, toy_go(&r));
        TS_CHECK(r.first_step == 6, "damage %d: resumed at %lld", i, (long long)r.first_step);
        TS_CHECK(strstr(r.skipped, words[i]) && strstr(r.skipped, "ckpt-000008"), "damage %d is told: '%s'", i,
                 r.skipped);
        toy_same_weights(whole.model, r.model, "from the older checkpoint");
        lt_model_free(r.model);
    }
    lt_model_free(whole.model);
    ts_close_place(&p);
}

static void checkpoints_of_other_models(void)
{
    ts_place p = ts_open_place();
    toy_run r = toy_new_run(&p, p.dir);
    r.stop_after = 3;
    TS_REFUSED(p.ctx, toy_go_once(&r), LT_EINTERRUPTED, "stopped");
    char state[300], whole[300];
    snprintf(state, sizeof state, "%s", ts_at(&p, "checkpoints/ckpt-000003/state.safetensors"));
    snprintf(whole, sizeof whole, "%s", ts_at(&p, "whole.safetensors"));
    TS_CHECK(rename(state, whole) == 0, "moved");
    r.stop_after = 0;
    toy_rewrite(p.ctx, whole, state, &(toy_edit){.drop = "blk.0.attn_q.weight:adam.m"});
    put_hash_right(&p, "ckpt-000003");
    TS_REFUSED(p.ctx, toy_go_once(&r), LT_EINVAL,
               "the checkpoint has no 'blk.0.attn_q.weight:adam.m'; it belongs to another model or optimizer");
    toy_rewrite(p.ctx, whole, state, &(toy_edit){.retype = "blk.0.attn_q.weight", .as = LT_STORED_I32});
    put_hash_right(&p, "ckpt-000003");
    TS_REFUSED(p.ctx, toy_go_once(&r), LT_EINVAL, "the checkpoint's 'blk.0.attn_q.weight' is I32 of");
    ts_close_place(&p);
}

static void leftovers_are_swept(void)
{
    ts_place p = ts_open_place();
    toy_run r = toy_new_run(&p, p.dir);
    r.stop_after = 4;
    TS_REFUSED(p.ctx, toy_go_once(&r), LT_EINTERRUPTED, "stopped");
    TS_CHECK(mkdir(ts_at(&p, "checkpoints/ckpt-000005.tmp"), 0777) == 0, "a half checkpoint");
    ts_put_text(&p, "checkpoints/ckpt-000005.tmp/state.safetensors", "half");
    ts_put_text(&p, "checkpoints/notes.txt", "mine");
    TS_CHECK(mkdir(ts_at(&p, "checkpoints/ckpt-x"), 0777) == 0, "somebody's directory");
    r.stop_after = 0;
    TS_OK(p.ctx, toy_go_once(&r));
    TS_CHECK(r.first_step == 4 && r.skipped[0] == 0, "resumed at %lld", (long long)r.first_step);
    TS_CHECK(!toy_exists(ts_at(&p, "checkpoints/ckpt-000005.tmp")), "half checkpoints are swept up");
    TS_CHECK(toy_exists(ts_at(&p, "checkpoints/notes.txt")) && toy_exists(ts_at(&p, "checkpoints/ckpt-x")),
             "what others put there stays");
    ts_close_place(&p);
}

static void cut_metrics(void)
{
    ts_place p = ts_open_place();
    char whole_out[256], parts_out[256];
    snprintf(whole_out, sizeof whole_out, "%s", ts_at(&p, "whole"));
    snprintf(parts_out, sizeof parts_out, "%s", ts_at(&p, "parts"));
    toy_run whole = toy_new_run(&p, whole_out), parts = toy_new_run(&p, parts_out);
    TS_OK(p.ctx, toy_go_once(&whole));
    parts.stop_after = 7;
    TS_REFUSED(p.ctx, toy_go_once(&parts), LT_EINTERRUPTED, "stopped");
    TS_OK(p.ctx, lti_remove_tree(p.ctx, ts_at(&p, "parts/checkpoints/ckpt-000007"))); /* as if killed before it */
    toy_cut(ts_at(&p, "parts/metrics.jsonl"), 9);                                     /* amid a line */
    parts.stop_after = 0;
    TS_OK(p.ctx, toy_go_once(&parts));
    TS_CHECK(parts.first_step == 6, "from step 6");
    toy_same_metrics(whole_out, parts_out, "a cut line");
    ts_close_place(&p);
}

/* A checkpoint that cannot be written is told; training goes on. */
static void a_failed_save_is_told(void)
{
    ts_place p = ts_open_place();
    toy_run r = toy_new_run(&p, p.dir);
    r.block_after = 1;
    TS_OK(p.ctx, toy_go_once(&r));
    TS_CHECK(strstr(r.notes, "3: checkpoint NOT saved: ") && strstr(r.notes, "12: checkpoint NOT saved: ") &&
                 strstr(r.notes, "/checkpoints"),
             "notes: %s", r.notes);
    unlink(ts_at(&p, "checkpoints"));
    r.stop_after = 4;
    TS_REFUSED(p.ctx, toy_go_once(&r), LT_EIO, "checkpoints"); /* there is no state to go on from */
    r.stop_after = 0;
    TS_REFUSED(p.ctx, toy_go_once(&r), LT_EIO, "checkpoints");
    unlink(ts_at(&p, "checkpoints"));
    unlink(ts_at(&p, "metrics.jsonl"));
    TS_CHECK(symlink("/dev/full", ts_at(&p, "metrics.jsonl")) == 0, "a full disk");
    TS_REFUSED(p.ctx, toy_go_once(&r), LT_EIO, "metrics.jsonl");
    unlink(ts_at(&p, "metrics.jsonl"));
    TS_CHECK(mkdir(ts_at(&p, "metrics.jsonl"), 0777) == 0, "in the way");
    TS_REFUSED(p.ctx, toy_go_once(&r), LT_EIO, "metrics.jsonl");
    ts_close_place(&p);
}

int lti_suite_resume(void)
{
    const ts_test tests[] = {{"stopping changes no bit", stopping_changes_no_bit},
                             {"a checkpoint opens as a model", a_checkpoint_opens_as_a_model},
                             {"changed settings", changed_settings},
                             {"which checkpoint", which_checkpoint},
                             {"damaged checkpoints", damaged_checkpoints_are_passed_over},
                             {"checkpoints of other models", checkpoints_of_other_models},
                             {"leftovers", leftovers_are_swept},
                             {"cut metrics", cut_metrics},
                             {"failed saves", a_failed_save_is_told}};
    return ts_suite("resume", LTI_COUNT(tests), tests) || toy_one_thread("resume");
}
