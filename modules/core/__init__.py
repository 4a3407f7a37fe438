"""The ground floor: what every room shares. Imports no other room."""
