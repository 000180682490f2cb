mod hostile;
mod lab;
mod second_views;
