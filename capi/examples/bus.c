/* BUS: everybody to everybody, waited for in an event loop of the program's own. */
#include "check.h"

#include <errno.h>
#include <poll.h>

int main (void)
{
    sinew_socket *buses[3];
    char names[3][32];

    for (int i = 0; i < 3; i++) {
        snprintf (names[i], sizeof names[i], "inproc://bus-%d", i);
        CHECK (sinew_socket_open (SINEW_BUS, &buses[i]));
        CHECK (sinew_bind (buses[i], names[i], NULL, 0));
        for (int j = 0; j < i; j++)
            CHECK (sinew_connect (buses[i], names[j]));
    }
    for (int i = 0; i < 3; i++)
        CHECK (sinew_wait_for_peers (buses[i], 2, 5000));

    CHECK (sinew_send (buses[0], "zero is here", 12, 0));
    for (int i = 1; i < 3; i++) {
        sinew_message *message;
        struct pollfd file = {-1, POLLIN, 0};
        CHECK (sinew_recv_fd (buses[i], &file.fd));
        if (poll (&file, 1, 5000) != 1)
            return 1;
        CHECK (sinew_recv (buses[i], &message, 0));
        show (names[i], message);
    }
    sinew_message *message;
    if (sinew_recv (buses[0], &message, 0) != EAGAIN) /* not to itself */
        return 1;
    for (int i = 0; i < 3; i++)
        sinew_socket_free (buses[i]);
    return 0;
}
