/*
 * settings.h - what a move changes of the peer's capabilities and parameters, and puts back
 *
 * An option of 'move' and 'save' is a row of a table that says which capability or parameter it
 * stands for.  What was not given stays as it is at the peer.
 */
#ifndef MINIVMM_CTL_SETTINGS_H
#define MINIVMM_CTL_SETTINGS_H

#include <stdbool.h>

struct client;
struct ctl_args;
struct err;
struct json_object;

struct settings {
	struct json_object *caps;   /* owned: {capability: true or false} to set */
	struct json_object *params; /* owned: {parameter: value} */
	struct json_object
	    *options; /* owned: {capability or parameter: the option that asks for it} */
	struct json_object *old_caps; /* owned: as they were at the peer, once they were set */
	struct json_object *old_params;
};

void ctl_settings_init(struct settings *s);
void settings_fini(struct settings *s);
/* 'option' is named when the peer has no such capability; NULL: it is left out then. */
void settings_cap(struct settings *s, const char *name, bool on, const char *option);
/* Takes v. */
void settings_param(struct settings *s, const char *name, struct json_object *v,
		    const char *option);
/* What the options of the command say.  -EINVAL with a sentence. */
int settings_read(struct settings *s, const struct ctl_args *args, struct err *err);
/* The options that were given, in words, for a report; owned. */
char *settings_words(const struct settings *s);

/*
 * Set them at the peer, all or none, and remember what was.  -ENOTSUP with a sentence when the peer
 * has not one of them; or as client_call().
 */
int settings_apply(struct settings *s, struct client *c, struct err *err);
/* As it was before; what cannot be put back is left.  0, or the first -errno with a sentence. */
int settings_restore(struct settings *s, struct client *c, struct err *err);

/* "QEMU 7.2.22", "minivmm 0.1.0" */
#define PEER_NAME_BYTES 80
const char *peer_name(const struct client *c, char out[PEER_NAME_BYTES]);

#endif
