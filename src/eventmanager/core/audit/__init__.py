"""Who did what, from where: a row in the transaction of the act, and a line in `audit.log`."""
