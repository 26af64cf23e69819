/* sites.h - how a layer finds its parameters: shared by the files of nn/. */
#ifndef LTI_SITES_H
#define LTI_SITES_H

#include "lathe/nn.h"

/* Opens the layer's scope and finds its weight: the parameter "<scope>.weight", or `weight` by its full name. The scope
 * stays open until the layer is recorded (lt_scope_end). Without a weight site.param is NULL, and the graph fails. */
lt_site lti_open_site(lt_t x, const char *name, lt_site_kind kind, const char *weight);
/* The layer's own parameter `suffix` as f32, or nil when it has none. */
lt_t lti_own(const lt_site *site, const char *suffix);
/* lt_nn_conv2d; *given: what the convolution was given, after the hooks. A sum around it takes the same: a network that
 * runs in integers has nothing else. */
lt_t lti_conv2d_given(lt_t x, const char *name, const lt_conv_config *config, lt_t *given);

#endif
