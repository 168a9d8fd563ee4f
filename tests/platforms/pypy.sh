# PyPy, which is not claimed: what it says, and that spawn works.
reason="PyPy is not claimed: gc.freeze and signal.sigwaitinfo are not there"
