/* REQREP: requests, balanced over all servers, and a reply to each. See nn.h. */
#ifndef REQREP_H_INCLUDED
#define REQREP_H_INCLUDED

#define NN_PROTO_REQREP 3

#define NN_REQ (NN_PROTO_REQREP * 16 + 0)
#define NN_REP (NN_PROTO_REQREP * 16 + 1)

/* An option of a REQ, at the level NN_REQ: after how many milliseconds a request is sent again. */
#define NN_REQ_RESEND_IVL 1

/* For bindings that name it; no call takes one. */
typedef union nn_req_handle {
    int i;
    void *ptr;
} nn_req_handle;

#endif
