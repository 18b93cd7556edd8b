/* SURVEYOR/RESPONDENT: one question to everybody, and answers until the deadline. */
#include "check.h"

#include <errno.h>

int main (void)
{
    sinew_socket *surveyor, *respondents[2];
    sinew_survey *survey;
    sinew_message *answer;
    int answers = 0, ended;

    CHECK (sinew_socket_open (SINEW_SURVEYOR, &surveyor));
    CHECK (sinew_set (surveyor, SINEW_SURVEY_DEADLINE, 200));
    CHECK (sinew_bind (surveyor, "inproc://survey", NULL, 0));
    for (int i = 0; i < 2; i++) {
        CHECK (sinew_socket_open (SINEW_RESPONDENT, &respondents[i]));
        CHECK (sinew_connect (respondents[i], "inproc://survey"));
    }
    CHECK (sinew_wait_for_peers (surveyor, 2, 5000)); /* who connects later is not asked */
    CHECK (sinew_survey_send (surveyor, "who is there?", 13, &survey));
    for (int i = 0; i < 2; i++) {
        sinew_request *question;
        CHECK (sinew_request_recv (respondents[i], &question, 5000));
        CHECK (sinew_request_reply (question, "somebody", 8));
    }
    while ((ended = sinew_survey_recv (survey, &answer, SINEW_FOREVER)) == 0) {
        show ("answer", answer);
        answers++;
    }

    sinew_survey_free (survey);
    for (int i = 0; i < 2; i++)
        sinew_socket_free (respondents[i]);
    sinew_socket_free (surveyor);
    return ended == ETIMEDOUT && answers == 2 ? 0 : 1;
}
