//! Every limit of the rules, one constant each, with its reason.
