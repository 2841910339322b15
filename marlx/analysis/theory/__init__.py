"""The theory desk: what methods would do with one payoff if each found the least of its loss. Knows no networks.

    projection.py     the ideal monotonic table, exact for small games           lattice.py   orders and upper sets
    least.py          which greedy joint actions are ideal, without all orders   exploration.py    data around one
    stable_points.py  where the greedy joint action can rest: VDN, QMIX, OW, CW, POW, ResQ, QPLEX
    plane.py          the level of QPLEX and of POW's recognition                rounds.py    MRVF's ideal rounds
    qplex.py          QPLEX by simulation                                        flow.py      gradient flow and Hessians
    survey.py         all methods on one game or on thousands                    regret.py    one gap of ReMIX's theory

Exact means: no sampling and no optimiser, every order is tried; up to rounding in double precision. `qplex` simulates,
`flow` integrates. What a network learns can differ from the ideal, as QMIX does on the payoffs `son3` and `game_a`.
"""
