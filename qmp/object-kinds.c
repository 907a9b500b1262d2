#include "qmp/object-kinds.h"

#include <stddef.h>

#include "devices/virtio/rng-source.h"
#include "migration/tls/objects.h"
#include "vmm/objects.h"
#include "vmm/secret.h"

#define WHY_RAM "guest RAM is made at start; give it as -object"

static const struct object_kind ram = {"memory-backend-ram", WHY_RAM, NULL, NULL};
static const struct object_kind memfd = {"memory-backend-memfd", WHY_RAM, NULL, NULL};
static const struct object_kind file = {"memory-backend-file", WHY_RAM, NULL, NULL};
static const struct object_kind rng_builtin = {"rng-builtin", NULL, NULL, NULL};

const struct object_kind *const object_kinds[] = {
    &ram,
    &memfd,
    &file,
    &rng_random_kind,
    &rng_builtin,
    &secret_kind,
    &tls_x509_kind,
    &tls_psk_kind,
    &tls_anon_kind,
    &authz_simple_kind,
    &authz_list_kind,
    &authz_list_file_kind,
    &authz_listfile_kind,
    NULL,
};
