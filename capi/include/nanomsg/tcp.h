/* The transport between machines: tcp://host:port. See nn.h. */
#ifndef TCP_H_INCLUDED
#define TCP_H_INCLUDED

#define NN_TCP (-3)

/* An option at the level NN_TCP: whether small segments are sent at once. */
#define NN_TCP_NODELAY 1

#endif
