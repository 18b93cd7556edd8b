/* SURVEY: a question to all, and their answers until a deadline. See nn.h. */
#ifndef SURVEY_H_INCLUDED
#define SURVEY_H_INCLUDED

#define NN_PROTO_SURVEY 6

#define NN_SURVEYOR (NN_PROTO_SURVEY * 16 + 2)
#define NN_RESPONDENT (NN_PROTO_SURVEY * 16 + 3)

/* An option of a SURVEYOR, at the level NN_SURVEYOR: for how many milliseconds answers count. */
#define NN_SURVEYOR_DEADLINE 1

#endif
