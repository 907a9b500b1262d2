/* methods.c - which compression multifd's channels use; the rows are in files of their own */
#include <string.h>

#include "migration/ram/multifd/multifd.h"

static const struct multifd_method multifd_none = {.name = "none", .flag = 0};

const struct multifd_method *const multifd_methods[] = {
    [MULTIFD_NONE] = &multifd_none,
    [MULTIFD_ZLIB] = &multifd_zlib,
    [MULTIFD_ZSTD] = &multifd_zstd,
};

const char *multifd_method_name(uint32_t flag)
{
	static const struct {
		uint32_t flag;
		const char *name;
	} foreign[] = {
	    {4,  "qpl"   },
	    {8,  "uadk"  },
	    {16, "qatzip"},
	};

	for (size_t i = 0; i < ARRAY_LEN(multifd_methods); i++)
		if (multifd_methods[i]->flag == flag)
			return multifd_methods[i]->name;
	for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
		if (foreign[i].flag == flag)
			return foreign[i].name;
	return "an unknown method";
}

void multifd_config_fill(struct multifd_config *cfg, const struct migration_params *p,
			 bool zero_copy, const uint8_t uuid[16])
{
	*cfg = (struct multifd_config){
	    .channels = p->multifd_channels,
	    .method = (enum multifd_compression)p->multifd_compression,
	    .level = p->multifd_compression == MULTIFD_ZSTD ? p->multifd_zstd_level
							    : p->multifd_zlib_level,
	    .zero_copy = zero_copy,
	};
	if (uuid)
		memcpy(cfg->uuid, uuid, sizeof(cfg->uuid));
}
