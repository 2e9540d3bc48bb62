"""Who did what, from where: a row in the transaction of the act, and a line in `audit.log`.

Rows are never changed and never deleted. Those for whom an act is refused leave none; who fails to
prove who they are, or shows a token that was spent before, does.
"""
