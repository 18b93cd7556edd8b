/* The transport between processes of one machine: ipc:///path. See nn.h. */
#ifndef IPC_H_INCLUDED
#define IPC_H_INCLUDED

#define NN_IPC (-2)

/* For Windows, and named here for programs that test for them. */
#define NN_IPC_SEC_ATTR 1
#define NN_IPC_OUTBUFSZ 2
#define NN_IPC_INBUFSZ 3

#endif
