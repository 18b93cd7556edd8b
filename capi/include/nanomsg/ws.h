/* WebSocket, which this library does not have: its addresses fail with EPROTONOSUPPORT. See nn.h. */
#ifndef WS_H_INCLUDED
#define WS_H_INCLUDED

#define NN_WS (-4)

#define NN_WS_MSG_TYPE 1

#define NN_WS_MSG_TYPE_TEXT 1
#define NN_WS_MSG_TYPE_BINARY 2

#endif
