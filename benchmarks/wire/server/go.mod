module wireserver

go 1.19
