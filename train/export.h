/* export.h - inside of an export: the files of codes, and what is said about them. */
#ifndef LTI_EXPORT_H
#define LTI_EXPORT_H

#include "base/text.h"
#include "lathe/formats.h"
#include "models/codes_gguf.h"
#include "qat/policy.h"
#include "train/packed_grids.h"
#include "train/recipe.h"

/* codes_file.c: writes a .safetensors file of the codes, packed where `from` knows their grids, with `more` pairs of
 * metadata, and reads it back. `notes` (may be NULL) gets a line for each tensor that no codes of its grid give back. */
lt_status lti_codes_file_pack(lt_ctx *ctx, const lti_packgrid_source *from, const lt_params *codes, const char *path,
                              const lt_pair *more, int n_more, lti_text *notes, lti_codes_proof *proof);

/* describe.c: tensors and bytes by grid, then the fallbacks. LT_ENONFINITE names a weight that is not finite. */
lt_status lti_describe_params(const lt_params *params, const lt_quant_policy *policy, lti_text *text);
/* describe.c: the policy's rules as they are written, "GLOB=TYPE GLOB=TYPE". */
void lti_policy_rules(const lt_quant_policy *policy, lti_text *text);

/* export.c: what a file says about its making. Texts lie in `text`, which is freed with it. */
enum { LTI_MOST_FACTS = 24 };
typedef struct lti_facts {
    lt_pair pairs[LTI_MOST_FACTS];
    int count;
    char texts[LTI_MOST_FACTS][LT_SCHEME_TEXT];
    lti_text rules;
} lti_facts;
/* f->rules.ctx is set before; lti_text_free(&f->rules) also when this fails. */
lt_status lti_facts_make(const lt_quant_policy *policy, const lt_export_options *options, lti_facts *f);
char *lti_with_commas(char text[32], uint64_t number); /* "1,234,567"; returns text */

/* card.c: a card of few words, for what is no export of a trained model. */
typedef struct lti_card {
    const char *what;     /* sentences: what the file holds */
    const char *table;    /* lines as they are; NULL */
    const lt_pair *facts; /* [n]: how it was made; those without a value are left out */
    int n;
} lti_card;
/* README.md beside the file at `path` (FILE.README.md where somebody else's is). */
lt_status lti_card_write(lt_ctx *ctx, const char *path, const lti_card *card);

#endif
