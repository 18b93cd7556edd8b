/* How programs end, and what a forked child may do. Usage: ends WHAT URL; the test has bound a PULL there. */
#include "ports.h"

#include <nanomsg/nn.h>
#include <nanomsg/pair.h>
#include <nanomsg/pipeline.h>
#include <nanomsg/reqrep.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int connected (const char *url)
{
    int push = nn_socket (AF_SP, NN_PUSH);
    if (push < 0 || nn_connect (push, url) < 0)
        exit (2);
    while (nn_get_statistic (push, NN_STAT_CURRENT_CONNECTIONS) == 0)
        usleep (1000);
    return push;
}

static void send_all (int push, int count)
{
    for (int i = 0; i < count; i++)
        if (nn_send (push, &i, sizeof i, 0) < 0)
            exit (3);
}

static const char *inherited (long returned)
{
    return returned >= 0 ? "ok" : nn_errno () == EFORKED ? "EFORKED" : nn_strerror (nn_errno ());
}

/* Every call of the child on what it has inherited fails, and what it makes itself works. */
static void child (int push, int pair, int req)
{
    char buffer[8], url[64];
    struct nn_pollfd asked = {pair, NN_POLLIN, 0};
    int own, peer, time = 10;
    printf ("send %s\n", inherited (nn_send (push, "x", 1, NN_DONTWAIT)));
    printf ("send to pair %s\n", inherited (nn_send (pair, "x", 1, 0)));
    printf ("recv %s\n", inherited (nn_recv (pair, buffer, sizeof buffer, 0)));
    printf ("request %s\n", inherited (nn_send (req, "x", 1, 0)));
    printf ("reply %s\n", inherited (nn_recv (req, buffer, sizeof buffer, 0)));
    printf ("bind %s\n", inherited (nn_bind (pair, "inproc://child")));
    printf ("connect %s\n", inherited (nn_connect (pair, "inproc://child")));
    printf ("option %s\n", inherited (nn_setsockopt (pair, NN_SOL_SOCKET, NN_LINGER, &time, sizeof time)));
    printf ("shutdown %s\n", inherited (nn_shutdown (push, 1)));
    printf ("poll %s\n", inherited (nn_poll (&asked, 1, 0)));
    printf ("close %s\n", inherited (nn_close (push)));

    snprintf (url, sizeof url, "tcp://127.0.0.1:%d", free_port ());
    own = nn_socket (AF_SP, NN_PAIR);
    peer = nn_socket (AF_SP, NN_PAIR);
    printf ("own bind %s\n", inherited (nn_bind (own, url)));
    printf ("own connect %s\n", inherited (nn_connect (peer, url)));
    printf ("own send %s\n", inherited (nn_send (own, "x", 1, 0)));
    printf ("own recv %s\n", inherited (nn_recv (peer, buffer, sizeof buffer, 0)));
    printf ("own close %s\n", inherited (nn_close (own)));
}

int main (int count, char **arguments)
{
    const char *what, *url;
    int push;
    if (count != 3)
        return 1;
    what = arguments[1];
    url = arguments[2];

    if (!strcmp (what, "close")) { /* and then _exit, which runs nothing */
        push = connected (url);
        send_all (push, 1000);
        nn_close (push);
        _exit (0);
    }
    if (!strcmp (what, "exit")) { /* without a close */
        push = connected (url);
        send_all (push, 1000);
        exit (0);
    }
    if (!strcmp (what, "term")) {
        push = connected (url);
        send_all (push, 1000);
        nn_term ();
        return nn_socket (AF_SP, NN_PAIR) == -1 && nn_errno () == ETERM ? 0 : 4;
    }
    if (!strcmp (what, "shutdown")) {
        push = nn_socket (AF_SP, NN_PUSH);
        int endpoint = nn_connect (push, url);
        while (nn_get_statistic (push, NN_STAT_CURRENT_CONNECTIONS) == 0)
            usleep (1000);
        send_all (push, 1000);
        nn_shutdown (push, endpoint);
        _exit (0);
    }
    if (!strcmp (what, "fork")) {
        int pair = nn_socket (AF_SP, NN_PAIR), req = nn_socket (AF_SP, NN_REQ), status;
        push = connected (url);
        nn_bind (pair, "inproc://parent");
        fflush (stdout);
        pid_t process = fork ();
        if (process == 0) {
            child (push, pair, req);
            exit (0); /* which closes what is the child's, and nothing of the parent's */
        }
        if (waitpid (process, &status, 0) != process || status != 0)
            return 5;
        send_all (push, 10);
        return 0;
    }
    return 1;
}
