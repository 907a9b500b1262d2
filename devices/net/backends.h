/* backends.h - the kinds of back ends; net.h is their contract */
#ifndef MINIVMM_DEVICES_NET_BACKENDS_H
#define MINIVMM_DEVICES_NET_BACKENDS_H

#include "devices/net/net.h"

extern const struct net_backend_ops net_tap_ops;
extern const struct net_backend_ops net_stream_ops;
extern const struct net_backend_ops net_user_ops;
extern const struct net_backend_ops net_passt_ops;

#endif
