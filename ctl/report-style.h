/* report-style.h - how reports look, in light and in dark */
#ifndef MINIVMM_CTL_REPORT_STYLE_H
#define MINIVMM_CTL_REPORT_STYLE_H

extern const char report_style[];      /* plots and texts of pictures */
extern const char report_page_style[]; /* what a page has besides */

#endif
