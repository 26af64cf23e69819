/* llama_config.h - config.json of the Llama shape of network (llama_config.c). */
#ifndef LTI_LLAMA_CONFIG_H
#define LTI_LLAMA_CONFIG_H

#include "models/family.h"

lt_status lti_llama_read_json(const lti_config_reader *reader, lt_transformer_config *config);
int lti_llama_write_json(json_t *json, const lt_transformer_config *config);

#endif
