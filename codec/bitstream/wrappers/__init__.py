"""Taking the derivable bytes of a foreign picture file away and putting them back, one codec a module.

Each module has `strip(file, width, height) -> (variant, body)` and `rebuild(variant, body, width, height) -> file`,
where width and height are those of the coded picture and `variant` is an integer in [0, 3]. A rebuilt file decodes
to the same pixels as the stripped one; it need not have the same bytes. `strip` raises StreamUnsupported for a file
that cannot be rebuilt, `rebuild` StreamError children for bodies that claim another size or cannot be.
"""
