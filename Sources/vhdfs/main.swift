print("vhdfs")
