"""Module 6: decision -> orders, ledger, risk."""
