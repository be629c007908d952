"""EWC mathematics on name-keyed tensors: no file, clock or configuration in here."""
