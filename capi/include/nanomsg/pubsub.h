/* PUBSUB: messages for all subscribers, each of which keeps those that begin with one of its topics. See nn.h. */
#ifndef PUBSUB_H_INCLUDED
#define PUBSUB_H_INCLUDED

#define NN_PROTO_PUBSUB 2

#define NN_PUB (NN_PROTO_PUBSUB * 16 + 0)
#define NN_SUB (NN_PROTO_PUBSUB * 16 + 1)

/* Options of a SUB, at the level NN_SUB: the bytes that a message begins with. */
#define NN_SUB_SUBSCRIBE 1
#define NN_SUB_UNSUBSCRIBE 2

#endif
