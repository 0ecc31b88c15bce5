"""What commands that work on files of this machine share."""
