"""`bench sip`: registrations and calls by sipp, beside the vendor's own kamailio.cfg in this place.

scenarios   what sipp says
load        one load, a program for the lab's outside guest
tunnel      sipp's TLS, a program for the same guest
stock       the vendor's configuration in the place of the platform's
bench       what is measured, in which order
figures     from loads to results
picture     the same as a picture
"""

from voip_stack.bench.sip.bench import ROUNDS, run

__all__ = ["ROUNDS", "run"]
