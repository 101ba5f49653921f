//! A folder into which finished files of JSON Lines are renamed.
