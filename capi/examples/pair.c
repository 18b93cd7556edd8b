/* PAIR: two peers, messages both ways. */
#include "check.h"

int main (void)
{
    sinew_socket *left, *right;
    sinew_message *message;
    char url[128];

    CHECK (sinew_socket_open (SINEW_PAIR, &left));
    CHECK (sinew_socket_open (SINEW_PAIR, &right));
    CHECK (sinew_bind (left, "tcp://127.0.0.1:0", url, sizeof url)); /* port 0: any free port */
    CHECK (sinew_connect (right, url)); /* returns at once, keeps trying in the background */

    CHECK (sinew_send (left, "ping", 4, SINEW_FOREVER)); /* waits until there is a peer to take it */
    CHECK (sinew_recv (right, &message, SINEW_FOREVER));
    show ("right", message);
    CHECK (sinew_send (right, "pong", 4, SINEW_FOREVER));
    CHECK (sinew_recv (left, &message, SINEW_FOREVER));
    show ("left", message);

    sinew_socket_free (left);
    sinew_socket_free (right);
    return 0;
}
