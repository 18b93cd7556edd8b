/* Loads the library, uses it, and unloads it, several times. Usage: unload LIBRARY */
#include "ports.h"

#include <dlfcn.h>
#include <stdio.h>

int main (int count, char **arguments)
{
    for (int round = 0; count == 2 && round < 3; round++) {
        void *library = dlopen (arguments[1], RTLD_NOW | RTLD_LOCAL);
        if (!library) {
            fprintf (stderr, "%s\n", dlerror ());
            return 2;
        }
        int (*nn_socket) (int, int) = dlsym (library, "nn_socket");
        int (*nn_bind) (int, const char *) = dlsym (library, "nn_bind");
        int (*nn_close) (int) = dlsym (library, "nn_close");
        int (*nn_connect) (int, const char *) = dlsym (library, "nn_connect");
        int (*nn_send) (int, const void *, size_t, int) = dlsym (library, "nn_send");
        int (*nn_recv) (int, void *, size_t, int) = dlsym (library, "nn_recv");
        char buffer[8], url[64];
        snprintf (url, sizeof url, "tcp://127.0.0.1:%d", free_port ());
        int left = nn_socket (1, 16), right = nn_socket (1, 16);
        if (left < 0 || nn_bind (left, url) < 0 || nn_connect (right, url) < 0)
            return 3;
        if (nn_send (left, "hello", 5, 0) != 5 || nn_recv (right, buffer, sizeof buffer, 0) != 5)
            return 4;
        if (nn_close (left) != 0 || nn_close (right) != 0 || dlclose (library) != 0)
            return 5;
    }
    return 0;
}
