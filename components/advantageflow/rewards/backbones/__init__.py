"""What learned rewards share: where they compute, how they load, what their models read; imported only when used."""
