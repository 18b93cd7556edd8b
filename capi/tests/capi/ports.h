/* Ports for the test programs. */
#ifndef PORTS_H
#define PORTS_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* A port of 127.0.0.1 that is free. A socket that stays bound to it until the program ends keeps other programs from
 * getting it; as it does not listen, a library that allows the address to be used again can bind to it. */
static inline int free_port (void)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    int on = 1, keeper = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memset (&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl (INADDR_LOOPBACK);
    /* The option comes last: with it, the system may give a port that others keep in this way. */
    if (keeper < 0 || bind (keeper, (struct sockaddr *) &address, sizeof address) < 0
        || getsockname (keeper, (struct sockaddr *) &address, &length) < 0
        || setsockopt (keeper, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0) {
        perror ("free_port");
        exit (90);
    }
    return ntohs (address.sin_port);
}

#endif
