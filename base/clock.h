/* clock.h - the time that only goes forward. */
#ifndef LTI_CLOCK_H
#define LTI_CLOCK_H

double lti_seconds(void); /* since some moment of the past */

#endif
