/* What the examples share: every call is checked, and a failure says what the library says. */
#ifndef CHECK_H
#define CHECK_H

#include <sinew.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(call)                                                                     \
    do {                                                                                \
        if ((call) != 0) {                                                              \
            fprintf (stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, sinew_error ()); \
            exit (1);                                                                   \
        }                                                                               \
    } while (0)

/* Prints a message and frees it. */
static inline void show (const char *who, sinew_message *message)
{
    printf ("%s: %.*s\n", who, (int) sinew_message_size (message), (const char *) sinew_message_data (message));
    sinew_message_free (message);
}

#endif
