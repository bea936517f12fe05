"""The loops that move state forward, woken by what is committed and never by a timer alone."""
