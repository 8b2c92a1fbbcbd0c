"""Everything outside the process: the lake, the vendors, the experiment tracker."""
