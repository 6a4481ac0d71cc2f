"""View sets, the multi-view data sets that rooms exchange; contact sheets, videos, PSNR."""
