/* uri.h - addresses of migrations as people type them here, for a peer that runs elsewhere */
#ifndef MINIVMM_CTL_URI_H
#define MINIVMM_CTL_URI_H

/* A path from the root; owned. */
char *path_absolute(const char *path);
/* unix: and file: with such a path; a word without a scheme is a path: unix: where it is a socket,
 * else file:.  Owned. */
char *uri_absolute(const char *uri);

#endif
