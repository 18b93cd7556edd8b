/* The transport within a process: inproc://name. See nn.h. */
#ifndef INPROC_H_INCLUDED
#define INPROC_H_INCLUDED

#define NN_INPROC (-1)

#endif
